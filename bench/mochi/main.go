// Command mochi is the peer that figures are compared with: the stock server of
// mochi-mqtt with its own websocket listener, everybody allowed, nothing stored.
package main

import (
	"flag"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:1883", "`address` of the websocket listener")
	admin := flag.String("admin", "", "`address` where /debug/pprof is served")
	flag.Parse()
	if err := serve(*listen, *admin); err != nil {
		slog.Error("serve", "error", err)
		os.Exit(1)
	}
}

func serve(listen, admin string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewWebsocket(listeners.Config{ID: "ws", Address: listen})); err != nil {
		return err
	}
	if admin != "" {
		mux := http.NewServeMux()
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		go func() { slog.Error("pprof", "error", http.ListenAndServe(admin, mux)) }()
	}
	if err := server.Serve(); err != nil {
		return err
	}
	<-stop
	return server.Close()
}
