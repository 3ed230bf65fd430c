package main

import (
	"context"
	"strconv"
	"time"
)

// publishStatus tells subscribers of $SYS/broker/# about the broker, in every
// namespace, at once and then every interval, until ctx ends. The values are
// transient: a subscriber has them all after one interval.
func (b *broker) publishStatus(ctx context.Context) error {
	if b.c.SysInterval == 0 {
		return nil
	}
	tick := time.NewTicker(b.c.SysInterval)
	defer tick.Stop()
	for {
		for topic, text := range b.statusTopics() {
			for _, ns := range b.namespaces.Names {
				b.hub.Announce(ns, topic, text)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusTopics are the basics that other brokers have too, under the same names.
func (b *broker) statusTopics() map[string]string {
	connected := 0
	for _, n := range b.metrics.OpenConnections() {
		connected += n
	}
	count := func(name string) string { return strconv.FormatInt(b.metrics.Total(name), 10) }
	return map[string]string{
		"$SYS/broker/version":           "parley " + version,
		"$SYS/broker/uptime":            strconv.FormatInt(int64(time.Since(b.started).Seconds()), 10) + " seconds",
		"$SYS/broker/clients/connected": strconv.Itoa(connected),
		"$SYS/broker/clients/sessions":  strconv.Itoa(b.hub.Sessions()),
		"$SYS/broker/messages/received": count("parley_messages_received_total"),
		"$SYS/broker/messages/sent":     count("parley_messages_delivered_total"),
		"$SYS/broker/messages/stored":   count("parley_store_messages_total"),
		"$SYS/broker/messages/dropped":  count("parley_messages_dropped_total"),
	}
}
