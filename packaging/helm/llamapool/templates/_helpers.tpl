{{- define "llamapool.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "llamapool.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "llamapool.serverSecret" -}}
{{- .Values.server.existingSecret | default (printf "%s-keys" (include "llamapool.name" .)) -}}
{{- end }}

{{- define "llamapool.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "llamapool.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /*
The relay as a container beside an MCP server, for this chart and for others that depend on it:
  {{ include "llamapool.relay" (dict "root" $ "id" "notes" "url" "http://127.0.0.1:7777/mcp" "settings" (dict)) }}
*/ -}}
{{- define "llamapool.relay" -}}
{{- $root := .root -}}
{{- $relay := $root.Values.relay -}}
{{- $server := printf "ws://%s:%v" (include "llamapool.name" $root) $root.Values.server.service.port -}}
name: llamapool-relay
image: {{ printf "%s:%s" $relay.image ($relay.tag | default $root.Chart.AppVersion) | quote }}
env:
  - name: SERVER_URL
    value: {{ $relay.serverUrl | default $server | quote }}
  - name: CLIENT_ID
    value: {{ .id | quote }}
  - name: PROVIDER_URL
    value: {{ .url | quote }}
  - name: RECONNECT
    value: "true"
  - name: WORKER_KEY_FILE
    value: /run/secrets/llamapool/worker-key
  {{- range $name, $value := .settings }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
ports:
  - name: status
    containerPort: 4555
readinessProbe:
  httpGet:
    path: /readyz
    port: status
resources:
  {{- toYaml $relay.resources | nindent 2 }}
securityContext:
  {{- include "llamapool.containerSecurity" $root | nindent 2 }}
volumeMounts:
  - name: llamapool-key
    mountPath: /run/secrets/llamapool
    readOnly: true
{{- end }}

{{- /* The volume that the relay's container mounts. */ -}}
{{- define "llamapool.relayVolume" -}}
name: llamapool-key
secret:
  secretName: {{ .Values.relay.existingSecret | default (include "llamapool.serverSecret" .) }}
  # The pod is that of an MCP server, whose group is not ours to set; no other container mounts this.
  defaultMode: 0444
  items:
    - key: worker-key
      path: worker-key
{{- end }}
