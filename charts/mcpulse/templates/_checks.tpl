{{/*
What Helm would not notice and a cluster would not refuse, above all another release that means the
same pods. Each release writes into its MutatingWebhookConfiguration which namespace it watches. Nothing
is looked up by `helm template`.
*/}}
{{- define "mcpulse.checks" -}}
{{- $own := printf "%s/%s" .Release.Namespace .Release.Name -}}
{{- $watched := .Values.watchNamespace -}}
{{- if eq $watched .Release.Namespace -}}
{{- fail (printf "watchNamespace is %s, where the operator itself runs, whose pods are left alone; install the release in another namespace" $watched) -}}
{{- end -}}
{{- if and (eq .Values.injection.engine "policy") (not (include "mcpulse.policy" .)) -}}
{{- fail "injection.engine is policy, and the cluster serves no MutatingAdmissionPolicy (Kubernetes 1.36): nothing would inject; leave it at auto" -}}
{{- end -}}
{{- range (lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "").items -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- if hasKey $annotations "mcpulse.io/watch-namespace" -}}
{{- $other := printf "%s/%s" (get $annotations "meta.helm.sh/release-namespace") (get $annotations "meta.helm.sh/release-name") -}}
{{- $theirs := get $annotations "mcpulse.io/watch-namespace" -}}
{{- if and (ne $other $own) (or (empty $watched) (empty $theirs) (eq $watched $theirs)) -}}
{{- fail (printf "release %s watches %s already, and no two may mean the same pods; give each its own watchNamespace" $other (ternary "all namespaces" (printf "namespace %s" $theirs) (empty $theirs))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.crd.install -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "mcpservers.mcpulse.io" -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $other := printf "%s/%s" (get $annotations "meta.helm.sh/release-namespace") (get $annotations "meta.helm.sh/release-name") -}}
{{- if and (hasKey $annotations "meta.helm.sh/release-name") (ne $other $own) -}}
{{- fail (printf "the definition mcpservers.mcpulse.io belongs to release %s; set crd.install=false, or, if that release is gone, run: kubectl annotate --overwrite crd mcpservers.mcpulse.io meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s" $other $.Release.Name $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
