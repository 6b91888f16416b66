{{/* With what the names of all objects begin: what the operator calls its release. */}}
{{- define "mcpulse.name" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = ternary .Release.Name (printf "%s-mcpulse" .Release.Name) (contains "mcpulse" .Release.Name) -}}
{{- end -}}
{{- $name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the operator's Deployment, Service, service account and Lease. */}}
{{- define "mcpulse.operator" -}}
{{ include "mcpulse.name" . }}-operator
{{- end -}}

{{/* What selects the operator's pods. */}}
{{- define "mcpulse.selector" -}}
app.kubernetes.io/name: mcpulse
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The labels of every object. */}}
{{- define "mcpulse.labels" -}}
{{ include "mcpulse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image: (list . image). */}}
{{- define "mcpulse.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := printf "%s/%s" ($root.Values.global.imageRegistry | default $image.registry | trimSuffix "/") $image.repository -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/*
Objects that the operator writes (files/), with labels, and with what differs from release to
release filled in as it does that itself (operator/src/release.rs): (list . file annotations).
*/}}
{{- define "mcpulse.objects" -}}
{{- $root := index . 0 -}}
{{- $watched := $root.Values.watchNamespace -}}
{{- $metadata := printf "\nmetadata:\n  labels:\n    %s\n" (include "mcpulse.labels" $root | nindent 4 | trim) -}}
{{- with index . 2 -}}
{{- $metadata = printf "%s  annotations:\n    %s\n" $metadata (toYaml . | nindent 4 | trim) -}}
{{- end -}}
{{- $root.Files.Get (printf "files/%s" (index . 1))
  | replace "\nmetadata:\n" $metadata
  | replace "${namespace}" $root.Release.Namespace
  | replace "${name}" (include "mcpulse.name" $root)
  | replace "${kind}" (ternary "Role" "ClusterRole" (not (empty $watched)))
  | replace "${in}" (empty $watched | ternary "" (printf "\n  namespace: '%s'" $watched))
  | replace "${named}" (empty $watched | ternary "" (printf "\n  resourceNames: ['%s']" $watched))
  | replace "${only}" (empty $watched | ternary "" (printf "kubernetes.io/metadata.name: '%s'" $watched)) }}
{{- end -}}

{{/*
Whether the cluster serves a kind: (list . group/version/kind version). Not empty if it does. Where
no cluster was asked (`helm template`), it serves what its version of Kubernetes does.
*/}}
{{- define "mcpulse.serves" -}}
{{- $capabilities := (index . 0).Capabilities -}}
{{- $asked := $capabilities.APIVersions.Has "v1/Pod" -}}
{{- if $capabilities.APIVersions.Has (index . 1) -}}
yes
{{- else if and (not $asked) (semverCompare (printf ">=%s-0" (index . 2)) $capabilities.KubeVersion.Version) -}}
yes
{{- end -}}
{{- end -}}

{{/* Whether the cluster serves a kind of the Prometheus operator, likewise: (list . kind). */}}
{{- define "mcpulse.monitors" -}}
{{- if (index . 0).Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 1)) }}yes{{ end -}}
{{- end -}}

{{/* Whether API servers inject by a policy. Not empty if they do. */}}
{{- define "mcpulse.policy" -}}
{{- if ne .Values.injection.engine "webhook" -}}
{{ include "mcpulse.serves" (list . "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" "1.36.0") }}
{{- end -}}
{{- end -}}

{{/* Whether sidecars get the annotations prometheus.io/*. Not empty if they do. */}}
{{- define "mcpulse.annotated" -}}
{{- $monitored := and .Values.metrics.podMonitor.enabled (include "mcpulse.monitors" (list . "PodMonitor")) -}}
{{- if and .Values.metrics.annotations (not $monitored) }}yes{{ end -}}
{{- end -}}

{{/* The namespace in which `helm test` tries a pod. */}}
{{- define "mcpulse.tried" -}}
{{ .Values.test.namespace | default .Values.watchNamespace | default "default" }}
{{- end -}}
