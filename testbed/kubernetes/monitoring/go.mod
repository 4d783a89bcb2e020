// Not built: brings the definitions of ServiceMonitor and PrometheusRule, which lie in its source.
module pulsemesh.io/testbed/kubernetes/monitoring

go 1.25.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
