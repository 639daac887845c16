import { Alert, Button, Code, Group, Text } from '@mantine/core';
import { asProblem } from '../api/problem';

/** ProblemBox says what went wrong, why, and what helps. */
export function ProblemBox({ error, retry }: { error: unknown; retry?: () => void }) {
  const p = asProblem(error);
  return (
    <Alert color="red" variant="light" title={`✗ ${p.title}`} role="alert">
      {p.detail && <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{p.detail}</Text>}
      {p.hint && <Text size="sm" mt={4}>Hint: {p.hint.startsWith('penstock ') ? <Code>{p.hint}</Code> : p.hint}</Text>}
      {retry && <Group mt="xs"><Button size="compact-sm" variant="default" onClick={retry}>Try again</Button></Group>}
    </Alert>
  );
}
