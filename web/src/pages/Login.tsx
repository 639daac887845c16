import { Button, Code, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { api } from '../api/client';
import { fromAnswer } from '../api/problem';
import { me } from '../api/queries';
import { setCSRF } from '../api/session';
import { ProblemBox } from '../ui/ProblemBox';
import { useTitle } from '../ui/title';
import { codeOf } from './login/code';

const route = getRouteApi('/login');

/** fromToken makes a code with an access token, as penstock login-link does. */
async function fromToken(token: string): Promise<string> {
  const response = await fetch('/api/v1/login-links', {
    method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` }, body: '{}', credentials: 'omit',
  });
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw fromAnswer(response.status, body);
  return codeOf((body as { url: string }).url).value;
}

/**
 * Login opens a session with the code of a one-time link, which comes after the
 * # of the address: browsers send that to nobody. A token does, too.
 */
export function Login() {
  const { to } = route.useSearch();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const [text, setText] = useState('');
  useTitle('Log in');
  const login = useMutation({
    mutationFn: async (said: string) => {
      const { kind, value } = codeOf(said);
      const code = kind === 'token' ? await fromToken(value) : value;
      const { data } = await api.POST('/api/v1/session', { body: { code } });
      return data;
    },
    onSuccess: (user) => {
      setText('');
      setCSRF(user?.csrf);
      queries.clear();
      queries.setQueryData(me.queryKey, user);
      // Only places in these pages: never an address that somebody made up.
      const place = to?.startsWith('/') && !to.startsWith('//') ? to : '/';
      void navigate({ href: place, replace: true });
    },
  });
  // A code is good for one use, and effects run twice while developing. A link
  // that is opened while this page shows only changes what is after the #.
  const used = useRef('');
  const { mutate } = login;
  useEffect(() => {
    const take = () => {
      const code = window.location.hash.slice(1);
      if (code === '' || used.current === code) return;
      used.current = code;
      window.history.replaceState(window.history.state, '', window.location.pathname + window.location.search);
      mutate(code);
    };
    take();
    window.addEventListener('hashchange', take);
    return () => { window.removeEventListener('hashchange', take); };
  }, [mutate]);
  return (
    <main className="login">
      <Paper withBorder p="xl" radius="md" className="login-box">
        <form onSubmit={(e) => { e.preventDefault(); if (text.trim() !== '') login.mutate(text); }}>
          <Stack>
            <img src="/icon.svg" width={44} height={44} alt="" />
            <Title order={1} size="h3">Log in to Penstock</Title>
            {login.isError && <ProblemBox error={login.error} />}
            <Text size="sm" c="dimmed">
              On the machine that runs it, <Code>penstock login-link</Code> prints a link that logs this browser in, once.
            </Text>
            <TextInput
              label="Link, code or access token" type="password" autoComplete="off" spellCheck={false} value={text}
              onChange={(e) => { setText(e.currentTarget.value); }}
            />
            <Button type="submit" loading={login.isPending} disabled={text.trim() === ''}>Log in</Button>
          </Stack>
        </form>
      </Paper>
    </main>
  );
}
