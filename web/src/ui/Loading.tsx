import { Skeleton, Stack } from '@mantine/core';

/** Loading holds the place of rows that are on their way. */
export function Loading({ rows = 4 }: { rows?: number }) {
  return (
    <Stack gap="xs" aria-busy="true" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => <Skeleton key={i} height={44} />)}
    </Stack>
  );
}
