// Package chromium drives a real browser for tests: Debian's Chromium without
// a window, over the DevTools protocol on a pipe. It knows the few commands
// that our tests need.
package chromium

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a page may take for anything.
const patience = 60 * time.Second

// Page is one page in a browser of its own.
type Page struct {
	t       testing.TB
	out     io.Writer
	session string

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	said    []string // errors on the page
	gone    error
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Open starts a browser with an empty page. The test is skipped where there is
// no Chromium, and fails when the page had something to complain about.
func Open(t testing.TB) *Page {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium; scripts/setup installs it")
	}
	// The browser writes to its directory until it is gone; t.TempDir would
	// fail when a helper process is late.
	dir, err := os.MkdirTemp("", "penstock-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	toBrowser, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--lang=en-US",
		"--remote-debugging-pipe", "--user-data-dir="+dir, "about:blank")
	cmd.ExtraFiles = []*os.File{toBrowser, theirs} // descriptors 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+dir, "LANG=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toBrowser.Close()
	theirs.Close()
	p := &Page{t: t, out: ours, waiting: map[int]chan answer{}}
	var reading sync.WaitGroup
	reading.Go(func() { p.read(fromBrowser) })
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		ours.Close()
		reading.Wait()
		fromBrowser.Close()
		for range 50 {
			if os.RemoveAll(dir) == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.said {
			t.Errorf("the page says: %s", s)
		}
	})
	var target struct {
		ID string `json:"targetId"`
	}
	p.command("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		ID string `json:"sessionId"`
	}
	p.command("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	p.mu.Lock()
	p.session = attached.ID
	p.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.command(domain+".enable", nil, nil)
	}
	return p
}

// read takes what the browser says until it has gone.
func (p *Page) read(r io.Reader) {
	b := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := b.ReadBytes(0)
		if err != nil {
			p.mu.Lock()
			p.gone = errors.New("the browser is gone")
			for _, c := range p.waiting {
				close(c)
			}
			clear(p.waiting)
			p.mu.Unlock()
			return
		}
		var m struct {
			ID     int             `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
			answer
		}
		if err := json.Unmarshal(line[:len(line)-1], &m); err != nil {
			continue
		}
		p.mu.Lock()
		if c, ok := p.waiting[m.ID]; ok && m.ID != 0 {
			c <- m.answer
			delete(p.waiting, m.ID)
		}
		switch m.Method {
		case "Runtime.exceptionThrown":
			p.said = append(p.said, string(m.Params))
		case "Log.entryAdded":
			var e struct {
				Entry struct {
					Level, Source, Text, URL string
				}
			}
			// What a request was answered with is for the page to show.
			if json.Unmarshal(m.Params, &e) == nil && e.Entry.Level == "error" && e.Entry.Source != "network" {
				p.said = append(p.said, e.Entry.Source+": "+e.Entry.Text+" "+e.Entry.URL)
			}
		}
		p.mu.Unlock()
	}
}

// command sends one and waits for its result.
func (p *Page) command(method string, params, result any) {
	p.t.Helper()
	if err := p.try(method, params, result); err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
}

func (p *Page) try(method string, params, result any) error {
	c := make(chan answer, 1)
	p.mu.Lock()
	if p.gone != nil {
		p.mu.Unlock()
		return p.gone
	}
	p.next++
	m := map[string]any{"id": p.next, "method": method}
	if params != nil {
		m["params"] = params
	}
	if p.session != "" {
		m["sessionId"] = p.session
	}
	p.waiting[p.next] = c
	b, err := json.Marshal(m)
	if err == nil {
		_, err = p.out.Write(append(b, 0))
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case a, ok := <-c:
		switch {
		case !ok:
			return errors.New("the browser is gone")
		case a.Error != nil:
			return errors.New(a.Error.Message)
		case result != nil:
			return json.Unmarshal(a.Result, result)
		}
		return nil
	}
}

// Go loads a page.
func (p *Page) Go(url string) {
	p.t.Helper()
	var r struct {
		ErrorText string `json:"errorText"`
	}
	p.command("Page.navigate", map[string]any{"url": url}, &r)
	if r.ErrorText != "" {
		p.t.Fatalf("open %s: %s", url, r.ErrorText)
	}
}

// Eval returns what a JavaScript expression is, as text.
func (p *Page) Eval(js string) string {
	p.t.Helper()
	s, err := p.eval(js)
	if err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
	return s
}

func (p *Page) eval(js string) (string, error) {
	var r struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	if err := p.try("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true, "awaitPromise": true}, &r); err != nil {
		return "", err
	}
	if r.Exception != nil {
		return "", errors.New(r.Exception.Text + " " + r.Exception.Exception.Description)
	}
	if r.Result.Value == nil {
		return "", nil
	}
	return fmt.Sprint(r.Result.Value), nil
}

// Until waits for a JavaScript expression to be true.
func (p *Page) Until(js string) {
	p.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var s string
		// While a page loads there may be nothing to ask.
		if s, err = p.eval("Boolean(" + js + ")"); err == nil && s == "true" {
			return
		}
	}
	text, _ := p.eval("document.body.innerText")
	p.t.Fatalf("still not: %s (%v); the page is\n%s", js, err, text)
}

// Shows waits for a text on the page.
func (p *Page) Shows(text string) {
	p.t.Helper()
	p.Until("document.body && document.body.innerText.includes(" + quote(text) + ")")
}

// Click clicks on the first element that the selector finds and that has the
// text, once there is one.
func (p *Page) Click(selector, text string) {
	p.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll(%s)].find(e => e.innerText.includes(%s))", quote(selector), quote(text))
	p.Until(find)
	p.Eval("(" + find + ").click()")
}

// Type writes into what has the focus.
func (p *Page) Type(text string) {
	p.t.Helper()
	p.command("Input.insertText", map[string]any{"text": text}, nil)
}

// Press presses a key: a letter, or a name such as "Enter".
func (p *Page) Press(key string) {
	p.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key}
		if len(key) == 1 {
			params["text"] = key
		}
		p.command("Input.dispatchKeyEvent", params, nil)
	}
}

// Size makes the page as large as a screen.
func (p *Page) Size(width, height int) {
	p.t.Helper()
	p.command("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
}

// Dark makes the system's colours dark or light.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	p.command("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": value}}}, nil)
}

// Shoot keeps a picture of the page, if the environment names a directory for
// them: PENSTOCK_SCREENSHOTS.
func (p *Page) Shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("PENSTOCK_SCREENSHOTS")
	if dir == "" {
		return
	}
	time.Sleep(300 * time.Millisecond) // fades end; nothing depends on it
	var r struct {
		Data string `json:"data"`
	}
	p.command("Page.captureScreenshot", map[string]any{"format": "png"}, &r)
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
