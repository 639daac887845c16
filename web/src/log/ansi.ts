// Colours of terminal output: SGR sequences become spans, other control
// sequences are dropped.

export interface Span {
  text: string;
  color?: string; // a CSS colour
  back?: string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
}

type Style = Omit<Span, 'text'>;

const names = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
const base = (n: number) => `var(--ansi-${n >= 8 ? 'bright-' : ''}${names[n % 8] ?? 'white'})`;

function indexed(n: number): string | undefined {
  if (!(n >= 0 && n <= 255)) return undefined;
  if (n < 16) return base(n);
  if (n >= 232) {
    const v = 8 + 10 * (n - 232);
    return `rgb(${v},${v},${v})`;
  }
  const level = (v: number) => (v === 0 ? 0 : 55 + 40 * v);
  const c = n - 16;
  return `rgb(${level(Math.floor(c / 36))},${level(Math.floor(c / 6) % 6)},${level(c % 6)})`;
}

/** extended reads what follows 38 or 48: the colour and how many numbers it took. */
function extended(codes: number[], at: number): [string | undefined, number] {
  if (codes[at] === 5) return [indexed(codes[at + 1] ?? -1), 2];
  if (codes[at] === 2) {
    const rgb = [1, 2, 3].map((i) => codes[at + i] ?? -1);
    return [rgb.every((v) => v >= 0 && v <= 255) ? `rgb(${rgb.join(',')})` : undefined, 4];
  }
  return [undefined, 0];
}

function apply(style: Style, codes: number[]): Style {
  let s = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const c = codes[i] ?? 0;
    if (c === 0) s = {};
    else if (c === 1) s.bold = true;
    else if (c === 2) s.dim = true;
    else if (c === 3) s.italic = true;
    else if (c === 4) s.underline = true;
    else if (c === 22) { delete s.bold; delete s.dim; }
    else if (c === 23) delete s.italic;
    else if (c === 24) delete s.underline;
    else if (c >= 30 && c <= 37) s.color = base(c - 30);
    else if (c >= 40 && c <= 47) s.back = base(c - 40);
    else if (c >= 90 && c <= 97) s.color = base(c - 82);
    else if (c >= 100 && c <= 107) s.back = base(c - 92);
    else if (c === 39) delete s.color;
    else if (c === 49) delete s.back;
    else if (c === 38 || c === 48) {
      const [value, used] = extended(codes, i + 1);
      if (value !== undefined && c === 38) s.color = value;
      if (value !== undefined && c === 48) s.back = value;
      i += used;
    }
  }
  return s;
}

// CSI … final byte; OSC … BEL or ST; two-byte escapes; other controls but tab.
const sequence = /\x1b\[([0-9;:<=>?]*)[ -/]*([@-~])?|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0a-\x1f\x7f]/g;

/** spans splits a line into pieces of one look each. */
export function spans(line: string): Span[] {
  const out: Span[] = [];
  let style: Style = {};
  let last = 0;
  const push = (text: string) => {
    if (text !== '') out.push({ text, ...style });
  };
  for (const m of line.matchAll(sequence)) {
    push(line.slice(last, m.index));
    last = m.index + m[0].length;
    if (m[2] === 'm' && !/[<=>?]/.test(m[1] ?? '')) style = apply(style, (m[1] ?? '').split(/[;:]/).map(Number));
  }
  push(line.slice(last));
  return out;
}

/** plain is the text of a line without any sequences. */
export const plain = (line: string): string => line.replace(sequence, '');
