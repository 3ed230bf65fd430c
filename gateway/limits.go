package gateway

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Reasons of Metrics.Refused.
const (
	refusedTotal     = "connections"         // MaxConns
	refusedAddr      = "connections_address" // MaxConnsPerAddr
	refusedRate      = "rate"                // Rate
	refusedAddrRate  = "rate_address"        // RatePerAddr
	refusedPath      = "path"
	refusedProtocol  = "subprotocol"
	refusedOrigin    = "origin"
	refusedAuth      = "auth"
	refusedUpgrade   = "upgrade" // no WebSocket handshake as RFC 6455 wants it
	refusedDraining  = "draining"
	refusedHandshake = "handshake" // too slow, TLS failed, or not ended properly
)

// lobbySize is how many refused connections may wait for an answer in HTTP; more
// are just closed.
const lobbySize = 64

// maxAddrs bounds the table of addresses; those beyond share one entry.
const maxAddrs = 1 << 16

// door counts connections and decides who comes in.
type door struct {
	l *Limits

	mu    sync.Mutex
	total int
	lobby int
	rate  *rate.Limiter
	addrs map[netip.Prefix]*addrEntry
}

type addrEntry struct {
	conns int
	rate  *rate.Limiter
}

func newDoor(l *Limits) *door {
	return &door{l: l, rate: rate.NewLimiter(rate.Limit(l.Rate), l.Burst), addrs: make(map[netip.Prefix]*addrEntry)}
}

// enter admits a connection (refused is empty), lets it into the lobby, where it
// gets an answer only (both results set), or turns it away (release is nil).
// release must be called once.
func (d *door) enter(a net.Addr, lobby bool) (release func(), refused string) {
	key := addrKey(a)
	d.mu.Lock()
	defer d.mu.Unlock()
	refused = d.check(key)
	if refused == "" {
		d.total++
		if e := d.addrs[key]; e != nil {
			e.conns++
			return func() { d.leave(e) }, ""
		}
		return func() { d.leave(nil) }, ""
	}
	if lobby && d.lobby < lobbySize {
		d.lobby++
		return func() { d.mu.Lock(); d.lobby--; d.mu.Unlock() }, refused
	}
	return nil, refused
}

func (d *door) leave(e *addrEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if e != nil {
		e.conns--
	}
}

func (d *door) check(key netip.Prefix) string {
	if d.total >= d.l.MaxConns {
		return refusedTotal
	}
	now := time.Now()
	if !key.Addr().IsLoopback() || d.l.LimitLoopback {
		e := d.entry(&key, now)
		if e.conns >= d.l.MaxConnsPerAddr {
			return refusedAddr
		}
		if !e.rate.AllowN(now, 1) {
			return refusedAddrRate
		}
	}
	if !d.rate.AllowN(now, 1) {
		return refusedRate
	}
	return ""
}

func (d *door) entry(key *netip.Prefix, now time.Time) *addrEntry {
	if e := d.addrs[*key]; e != nil {
		return e
	}
	if len(d.addrs) >= maxAddrs {
		d.forget(now)
	}
	if len(d.addrs) >= maxAddrs {
		*key = netip.Prefix{}
		if e := d.addrs[*key]; e != nil {
			return e
		}
	}
	e := &addrEntry{rate: rate.NewLimiter(rate.Limit(d.l.RatePerAddr), d.l.BurstPerAddr)}
	d.addrs[*key] = e
	return e
}

// forget drops addresses that have no connection and their whole burst again.
func (d *door) forget(now time.Time) {
	for k, e := range d.addrs {
		if e.conns == 0 && e.rate.TokensAt(now) >= float64(d.l.BurstPerAddr) {
			delete(d.addrs, k)
		}
	}
}

func (d *door) sweep(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
}

// addrKey is the IPv4 address or, because a home gets one, the IPv6 /64.
func addrKey(a net.Addr) netip.Prefix {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := t.AddrPort().Addr().Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
		if ip.IsLoopback() {
			bits = 128
		}
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}
