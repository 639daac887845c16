import { ActionIcon, Anchor, Button, Checkbox, Group, Text, TextInput } from '@mantine/core';
import { useHotkeys } from '@mantine/hooks';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { asProblem } from '../api/problem';
import { most } from './buffer';
import { LogLine } from './LogLine';
import { enclosing, firstError, matching, visible } from './rows';
import { logURL, useLog } from './useLog';

interface Props {
  run: number;
  job: string;
  step: number;
  running: boolean;
  failed: boolean;
  line: number; // marked row, 0 none
  words: string;
  onLine: (line: number) => void;
  onWords: (words: string) => void;
}

const lineHeight = 20;

/** LogView shows the log of one step as it comes. Mount it anew for another step. */
export function LogView({ run, job, step, running, failed, line, words, onLine, onWords }: Props) {
  const log = useLog(run, job, step);
  const { rows, total } = log;
  const box = useRef<HTMLDivElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const [toggled, setToggled] = useState<ReadonlySet<number>>(new Set());
  const [times, setTimes] = useState(false);
  const [follow, setFollow] = useState(running && line === 0);
  const [hit, setHit] = useState(0);

  // Groups are folded, but for those that hold what is looked at: the marked
  // line, what was found, what went wrong.
  const hits = useMemo(() => matching(rows, words), [rows, total, words]); // eslint-disable-line react-hooks/exhaustive-deps
  const failure = useMemo(() => (failed ? firstError(rows) : -1), [rows, total, failed]); // eslint-disable-line react-hooks/exhaustive-deps
  const current = hits.length > 0 ? hits[Math.min(hit, hits.length - 1)] : undefined;
  const looked = current ?? (line > 0 ? line - 1 : failure);
  const open = useMemo(() => {
    const shown = new Set(looked >= 0 ? enclosing(rows, looked) : []);
    for (const group of toggled) {
      if (!shown.delete(group)) shown.add(group);
    }
    return shown;
  }, [rows, looked, toggled]);
  const shown = useMemo(() => visible(rows, open), [rows, total, open]); // eslint-disable-line react-hooks/exhaustive-deps

  // eslint-disable-next-line react-hooks/incompatible-library -- it is why nothing here is memoised by a compiler
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => box.current,
    estimateSize: () => lineHeight,
    getItemKey: (i) => shown[i]?.index ?? i,
    overscan: 20,
  });

  useEffect(() => {
    if (follow && shown.length > 0) virtual.scrollToIndex(shown.length - 1, { align: 'end' });
  }, [follow, shown.length, virtual]);

  // What is looked at comes into view once, when it is there.
  const seen = useRef(-1);
  useEffect(() => {
    if (looked < 0 || looked === seen.current) return;
    const at = shown.findIndex((s) => s.index === looked);
    if (at < 0) return;
    seen.current = looked;
    virtual.scrollToIndex(at, { align: 'center' });
  }, [looked, shown, virtual]);

  const toggle = useCallback((index: number) => {
    setToggled((was) => {
      const now = new Set(was);
      if (!now.delete(index)) now.add(index);
      return now;
    });
  }, []);
  const turn = (by: number) => { setHit((hit + by + hits.length) % Math.max(1, hits.length)); };
  const onScroll = () => {
    const b = box.current;
    if (b && follow && b.scrollHeight - b.scrollTop - b.clientHeight > 3 * lineHeight) setFollow(false);
  };

  useHotkeys([
    ['/', () => { search.current?.focus(); }],
    ['f', () => { setFollow((f) => !f); }],
    ['n', () => { turn(1); }],
    ['shift+N', () => { turn(-1); }],
  ]);

  const low = words.toLowerCase();
  return (
    <section className="log" aria-label="Log">
      <Group gap="xs" className="log-bar" wrap="wrap">
        <TextInput
          ref={search} size="xs" placeholder="Search ( / )" aria-label="Search in the log" value={words}
          onChange={(e) => { onWords(e.currentTarget.value); setHit(0); setFollow(false); }}
          onKeyDown={(e) => {
            if (e.key === 'Enter') turn(e.shiftKey ? -1 : 1);
            if (e.key === 'Escape') { onWords(''); e.currentTarget.blur(); }
          }}
        />
        {words !== '' && (
          <Group gap={2} wrap="nowrap">
            <Text size="xs" c="dimmed" aria-live="polite">{hits.length === 0 ? 'nothing found' : `${Math.min(hit, hits.length - 1) + 1} of ${hits.length}`}</Text>
            <ActionIcon size="sm" variant="subtle" onClick={() => { turn(-1); }} aria-label="Previous">↑</ActionIcon>
            <ActionIcon size="sm" variant="subtle" onClick={() => { turn(1); }} aria-label="Next">↓</ActionIcon>
          </Group>
        )}
        <Checkbox size="xs" label="Times" checked={times} onChange={(e) => { setTimes(e.currentTarget.checked); }} />
        <Checkbox size="xs" label="Follow" checked={follow} onChange={(e) => { setFollow(e.currentTarget.checked); }} />
        <Text size="xs" c="dimmed" ml="auto">
          {total} {total === 1 ? 'line' : 'lines'}{!log.ended && running ? ', more to come' : ''}
          {' · '}<Anchor inherit href={logURL({ run, job, step })} target="_blank" rel="noreferrer">raw</Anchor>
        </Text>
      </Group>
      {log.error !== undefined && <Text size="xs" c="red" px="xs" role="status">✗ The log broke off: {asProblem(log.error).message}</Text>}
      {total > most && <Text size="xs" c="orange" px="xs">▲ Only the first {most} lines are shown here. The raw log has all of them.</Text>}
      <div ref={box} className="log-rows" onScroll={onScroll} tabIndex={0} role="log" aria-label={`Log of step ${step}`}>
        {total === 0 && <Text size="sm" c="dimmed" p="sm">{log.ended ? 'This step wrote nothing.' : running ? 'Waiting for the first line …' : 'Loading …'}</Text>}
        <div style={{ height: virtual.getTotalSize(), position: 'relative' }}>
          {virtual.getVirtualItems().map((item) => {
            const at = shown[item.index];
            const row = at && rows[at.index];
            if (!row) return null;
            return (
              <div key={item.key} data-index={item.index} ref={virtual.measureElement} className="log-place" style={{ transform: `translateY(${item.start}px)` }}>
                <LogLine
                  row={row} number={at.index + 1} depth={at.depth} open={open.has(at.index)} times={times}
                  marked={line === at.index + 1} hit={current === at.index} words={low} onToggle={toggle} onMark={onLine}
                />
              </div>
            );
          })}
        </div>
      </div>
      {!follow && running && (
        <Button className="log-jump" size="compact-xs" variant="default" onClick={() => { setFollow(true); }}>↓ Follow</Button>
      )}
    </section>
  );
}
