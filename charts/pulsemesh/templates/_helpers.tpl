{{- define "mesh.name" -}}
{{- $name := default .Release.Name .Values.name -}}
{{- if or (gt (len $name) 30) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "the name of a mesh begins with a letter, has only a-z, 0-9 and -, and at most 30 characters, which %q does not keep: set `name`" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "mesh.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" "pulsemesh"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "pulsemesh"
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $own .Values.labels) -}}
{{- end -}}

{{- /* The spec with a store; the one for trials stands here and not in values.yaml, so that a
       store of another kind does not have to take it away. */ -}}
{{- define "mesh.spec" -}}
{{- $trial := dict "cassandra" (dict "nodes" 1 "storage" (dict "size" "1Gi") "heap" "512Mi") -}}
{{- $store := default $trial .Values.spec.store -}}
{{- toYaml (merge (dict "store" $store) .Values.spec) -}}
{{- end -}}

{{- /* Whether every request needs a key, as "true" or "". */ -}}
{{- define "mesh.closed" -}}
{{- if dig "ingest" "tenants" "required" false .Values.spec }}true{{ end -}}
{{- end -}}

{{- /* Whether there is a test: it can't speak TLS, and may need a key. */ -}}
{{- define "mesh.tested" -}}
{{- $tls := dig "ingest" "tls" dict .Values.spec -}}
{{- if and (not $tls) (or .Values.test.apiKeySecret (not (include "mesh.closed" .))) }}true{{ end -}}
{{- end -}}

{{- /* Where pulses are posted within the cluster. */ -}}
{{- define "mesh.url" -}}
{{- $port := dig "ingest" "service" "port" 80 .Values.spec | int -}}
{{- $tls := dig "ingest" "tls" dict .Values.spec -}}
{{- $usual := ternary 443 80 (not (empty $tls)) -}}
{{ ternary "https" "http" (not (empty $tls)) }}://{{ include "mesh.name" . }}-ingest.{{ .Release.Namespace }}.svc{{ if ne $port $usual }}:{{ $port }}{{ end }}
{{- end -}}
