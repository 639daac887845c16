import { Alert, Stack, Text } from '@mantine/core';
import type { Run } from '../../api/client';
import { TextLink } from '../../ui/TextLink';

const looks = { error: ['red', '✗'], warning: ['orange', '▲'], notice: ['blue', 'ℹ'] } as const;

/** Annotations lists what steps had to say about places in files. */
export function Annotations({ run }: { run: Run }) {
  const all = (run.jobs ?? []).flatMap((j) => (j.annotations ?? []).map((a) => ({ ...a, job: j.key, jobName: j.name })));
  if (all.length === 0) return null;
  return (
    <Stack gap={6} aria-label="Annotations" className="notes">
      {all.map((a, i) => {
        const [color, glyph] = looks[a.level];
        return (
          <Alert key={i} color={color} variant="outline" p="xs" title={`${glyph} ${a.title || a.level}`}>
            <Text size="xs" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>{a.message}</Text>
            <Text size="xs" c="dimmed">
              {a.file && <span className="mono">{a.file}{a.line ? `:${a.line}` : ''} · </span>}
              <TextLink to="/runs/$id" params={{ id: String(run.id) }} search={{ job: a.job, step: a.step }} replace>{a.jobName}, step {a.step}</TextLink>
            </Text>
          </Alert>
        );
      })}
    </Stack>
  );
}
