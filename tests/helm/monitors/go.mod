module mcpulse.io/tests/helm/monitors

go 1.26.0

// For the definitions of PodMonitor, ServiceMonitor and PrometheusRule that are in it.
require github.com/prometheus-operator/prometheus-operator v0.85.0
