// Command call is what a step of the isolation test runs: it calls the
// addresses in a file ("NAME ADDRESS" lines) and says which answer.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	b, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	client := &http.Client{Timeout: 3 * time.Second}
	for line := range strings.Lines(string(b)) {
		name, addr, _ := strings.Cut(strings.TrimSpace(line), " ")
		resp, err := client.Get("http://" + addr + "/")
		if err != nil {
			fmt.Println(err)
			continue
		}
		resp.Body.Close()
		fmt.Println(name, "reached")
	}
}
