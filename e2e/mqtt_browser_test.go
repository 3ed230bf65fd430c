package e2e

import "testing"

// TestMQTTjs: MQTT.js as 3.1, 3.1.1 and 5 (js/mqtt_client.mjs).
func TestMQTTjs(t *testing.T) {
	b := startBroker(t, "")
	if steps := browse(t, "mqtt_client.mjs", b.url("/mqtt")); steps != 18 {
		t.Errorf("mqtt_client.mjs took %d steps, want 18", steps)
	}
}

// TestPahoInChromium: paho-mqtt as 3.1 and 3.1.1 (js/mqtt_paho.mjs).
func TestPahoInChromium(t *testing.T) {
	b := startBroker(t, "")
	if steps := browse(t, "mqtt_paho.mjs", "http://"+b.listen+"/", requireCommand(t, "chromium")); steps != 5 {
		t.Errorf("mqtt_paho.mjs took %d steps, want 5", steps)
	}
}
