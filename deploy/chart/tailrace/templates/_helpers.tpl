{{/* Name of the objects, by the rule of the official chart. */}}
{{- define "tailrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if not .Values.nameOverride -}}
operator
{{- else if contains .Values.nameOverride .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tailrace.selector" -}}
app.kubernetes.io/name: tailrace
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tailrace.labels" -}}
{{- $own := include "tailrace.selector" . | fromYaml -}}
{{- $own = merge $own (dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")) -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{/* Labels and annotations of an object. Takes a list: the root, and annotations of this object alone. */}}
{{- define "tailrace.meta" -}}
{{- $root := first . -}}
labels:
  {{- include "tailrace.labels" $root | nindent 2 }}
{{- with mergeOverwrite (dict) $root.Values.commonAnnotations (index . 1) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image. Takes repository, tag, digest. */}}
{{- define "tailrace.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}

{{- define "tailrace.port" -}}
{{- .Values.operatorConfig.metricsAddress | splitList ":" | last -}}
{{- end -}}

{{/* Which credential the operator shows: `apiKey`, `identity` or `oauth`. */}}
{{- define "tailrace.credential" -}}
{{- if or .Values.apiKey.value .Values.apiKey.existingSecret -}}
apiKey
{{- else if .Values.oauth.audience -}}
identity
{{- else -}}
oauth
{{- end -}}
{{- end -}}

{{/* What no single value shows: refused before anything is written. */}}
{{- define "tailrace.check" -}}
{{- $oauth := .Values.oauth -}}
{{- $key := or .Values.apiKey.value .Values.apiKey.existingSecret -}}
{{- if and .Values.apiKey.value .Values.apiKey.existingSecret -}}
{{- fail "apiKey.value and apiKey.existingSecret both name the API key: keep one" -}}
{{- end -}}
{{- if and $key (or $oauth.clientId $oauth.clientSecret $oauth.audience .Values.oauthSecretVolume) -}}
{{- fail "apiKey and an OAuth client are both named: keep one" -}}
{{- end -}}
{{- if and $oauth.audience (not $oauth.clientId) -}}
{{- fail "oauth.audience asks for workload identity, which needs oauth.clientId" -}}
{{- end -}}
{{- if and $oauth.audience (or $oauth.clientSecret .Values.oauthSecretVolume) -}}
{{- fail "oauth.audience asks for workload identity, which has no client secret: keep one" -}}
{{- end -}}
{{- if and .Values.oauthSecretVolume (or $oauth.clientId $oauth.clientSecret) -}}
{{- fail "oauthSecretVolume has the OAuth client already, so oauth.clientId and oauth.clientSecret would not be read: keep one" -}}
{{- end -}}
{{- if and (not $oauth.audience) (ne (not $oauth.clientId) (not $oauth.clientSecret)) -}}
{{- fail "half of an OAuth client is named: oauth.clientId and oauth.clientSecret go together" -}}
{{- end -}}
{{- if and .Values.caBundle .Values.caBundleConfigMap.name -}}
{{- fail "caBundle and caBundleConfigMap.name both name the private CA: keep one" -}}
{{- end -}}
{{- if and (gt (int .Values.operatorConfig.replicas) 1) (not .Values.operatorConfig.leaderElection) -}}
{{- fail "operatorConfig.replicas is more than 1, which needs operatorConfig.leaderElection" -}}
{{- end -}}
{{- end -}}
