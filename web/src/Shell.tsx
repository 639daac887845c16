import { ActionIcon, AppShell, Kbd, Menu, Modal, Table, useMantineColorScheme } from '@mantine/core';
import { useDisclosure, useHotkeys } from '@mantine/hooks';
import { useMutation, useQueryClient, useSuspenseQuery } from '@tanstack/react-query';
import { Link, Outlet, useNavigate } from '@tanstack/react-router';
import { api } from './api/client';
import { me } from './api/queries';
import { useStream } from './api/useStream';
import { duration } from './time/format';
import { useNow } from './time/useNow';

const pages = [
  { to: '/', label: 'Services', key: 's' },
  { to: '/runs', label: 'Runs', key: 'r' },
  { to: '/applications', label: 'Applications', key: 'a' },
] as const;

const keys: [string, string][] = [
  ['g s', 'Services'], ['g r', 'Runs'], ['g a', 'Applications'], ['?', 'These keys'],
  ['j / k', 'Next or previous step'], ['/', 'Search in the log'], ['n / N', 'Next or previous place'], ['f', 'Follow the log'],
];

/** useGoTo makes "g" and a letter, one after the other, go to a page. */
function useGoTo() {
  const navigate = useNavigate();
  useHotkeys([['g', () => {
    const go = (e: KeyboardEvent) => {
      const page = pages.find((p) => p.key === e.key);
      if (page) {
        e.stopImmediatePropagation();
        void navigate({ to: page.to });
      }
    };
    window.addEventListener('keydown', go, { once: true, capture: true });
    setTimeout(() => { window.removeEventListener('keydown', go, { capture: true }); }, 1500);
  }]]);
}

/** Stale says that what is shown may be old, and how old. */
function Stale({ since }: { since: number }) {
  const now = useNow();
  return <div className="stale" role="status">▲ No live updates for {duration(now - since)}. What shows is read again every few seconds until the server tells of changes again.</div>;
}

/** Shell is what is around every page. */
export function Shell() {
  const { data: user } = useSuspenseQuery(me);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const [help, { open, close }] = useDisclosure();
  const lost = useStream();
  useGoTo();
  useHotkeys([['shift+?', open], ['?', open]]);
  const logout = useMutation({
    mutationFn: () => api.DELETE('/api/v1/session'),
    onSettled: () => {
      queries.clear();
      void navigate({ to: '/login' });
    },
  });
  return (
    <AppShell header={{ height: 52 }} padding="md">
      <AppShell.Header>
        <a className="skip-link" href="#main">Skip to the content</a>
        <div className="top">
          <Link to="/" className="top-brand" aria-label="Penstock"><img src="/icon.svg" width={26} height={26} alt="" /><span>Penstock</span></Link>
          <nav className="top-nav" aria-label="Pages">
            {pages.map((p) => <Link key={p.to} to={p.to} activeOptions={{ exact: p.to === '/' }}>{p.label}</Link>)}
          </nav>
          <div className="top-end">
            <Menu position="bottom-end" withinPortal>
              <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label="Menu" title={user.name}>☰</ActionIcon></Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>Logged in as {user.name}</Menu.Label>
                <Menu.Label>Colours</Menu.Label>
                {(['auto', 'light', 'dark'] as const).map((s) => (
                  <Menu.Item key={s} onClick={() => { setColorScheme(s); }} leftSection={<span aria-hidden>{colorScheme === s ? '✓' : ' '}</span>}>
                    {{ auto: 'As the system', light: 'Light', dark: 'Dark' }[s]}
                  </Menu.Item>
                ))}
                <Menu.Divider />
                <Menu.Item onClick={open} rightSection={<Kbd size="xs">?</Kbd>}>Keys</Menu.Item>
                <Menu.Item onClick={() => { logout.mutate(); }}>Log out</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </div>
        </div>
      </AppShell.Header>
      <AppShell.Main id="main">
        {lost !== 0 && <Stale since={lost} />}
        <Outlet />
      </AppShell.Main>
      <Modal opened={help} onClose={close} title="Keys">
        <Table>
          <Table.Tbody>
            {keys.map(([k, what]) => <Table.Tr key={k}><Table.Td><Kbd>{k}</Kbd></Table.Td><Table.Td>{what}</Table.Td></Table.Tr>)}
          </Table.Tbody>
        </Table>
      </Modal>
    </AppShell>
  );
}
