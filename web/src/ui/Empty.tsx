import { Code, Paper, Stack, Text } from '@mantine/core';

/** Empty says that there is nothing, and the next command to type. */
export function Empty({ title, command, children }: { title: string; command?: string; children?: React.ReactNode }) {
  return (
    <Paper withBorder p="lg" className="empty">
      <Stack gap="xs" align="flex-start">
        <Text fw={600}>{title}</Text>
        {children && <Text size="sm" c="dimmed">{children}</Text>}
        {command && <Code block>{command}</Code>}
      </Stack>
    </Paper>
  );
}
