import { memo } from 'react';
import { spans } from './ansi';
import type { Row } from './rows';

interface Props {
  row: Row;
  number: number;
  depth: number;
  open: boolean;
  times: boolean;
  marked: boolean;
  hit: boolean;
  words: string;
  onToggle: (index: number) => void;
  onMark: (number: number) => void;
}

/** found marks the words that were searched for. */
function found(text: string, words: string): React.ReactNode {
  if (words === '') return text;
  const low = text.toLowerCase();
  const out: React.ReactNode[] = [];
  let last = 0;
  for (let i = low.indexOf(words); i >= 0; i = low.indexOf(words, last)) {
    out.push(text.slice(last, i), <mark key={i}>{text.slice(i, i + words.length)}</mark>);
    last = i + words.length;
  }
  return [...out, text.slice(last)];
}

const words: Partial<Record<Row['kind'], string>> = { error: 'error: ', warning: 'warning: ', notice: 'notice: ', debug: 'debug: ' };

/** LogLine is one row: number, perhaps time, text in its colours. */
export const LogLine = memo(function LogLine(p: Props) {
  const { row } = p;
  const text = spans(row.text).map((s, i) => (
    <span
      key={i}
      style={{
        color: s.color, backgroundColor: s.back, fontWeight: s.bold ? 700 : undefined, opacity: s.dim ? 0.7 : undefined,
        fontStyle: s.italic ? 'italic' : undefined, textDecoration: s.underline ? 'underline' : undefined,
      }}
    >
      {found(s.text, p.words)}
    </span>
  ));
  return (
    <div className={`log-line log-${row.kind}${p.marked ? ' log-marked' : ''}${p.hit ? ' log-hit' : ''}`}>
      <button type="button" className="log-number" onClick={() => { p.onMark(p.number); }} aria-label={`Link to line ${p.number}`}>{p.number}</button>
      {p.times && <span className="log-time">{row.at.slice(11, 23)}</span>}
      <span className="log-text" style={{ paddingInlineStart: `${p.depth * 1.25}em` }}>
        {row.kind === 'group' ? (
          <button type="button" className="log-fold" aria-expanded={p.open} onClick={() => { p.onToggle(p.number - 1); }}>
            <span aria-hidden>{p.open ? '▾' : '▸'}</span> {text}
          </button>
        ) : (
          <>{words[row.kind]}{text}</>
        )}
      </span>
    </div>
  );
});
