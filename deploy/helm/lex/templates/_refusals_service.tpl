{{/* Rejects fields of the Service that its type does not have, and a policy that keeps its callers out. */}}
{{- define "lex.refuseService" -}}
{{- $service := .Values.service }}
{{- if and $service.externalTrafficPolicy (eq $service.type "ClusterIP") }}
  {{- fail "service.externalTrafficPolicy is for a NodePort or a LoadBalancer, and service.type is ClusterIP: empty it, or change the type." }}
{{- end }}
{{- if and $service.nodePort (eq $service.type "ClusterIP") }}
  {{- fail "service.nodePort is for a NodePort or a LoadBalancer, and service.type is ClusterIP: set 0, or change the type." }}
{{- end }}
{{- if and (or $service.loadBalancerClass $service.loadBalancerSourceRanges) (ne $service.type "LoadBalancer") }}
  {{- fail (printf "service.loadBalancerClass and service.loadBalancerSourceRanges are for a LoadBalancer, and service.type is %s: empty them, or change the type." $service.type) }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (ne $service.type "ClusterIP") }}
  {{- $blocks := list }}
  {{- range .Values.networkPolicy.ingressFrom }}{{ with .ipBlock }}{{ $blocks = append $blocks . }}{{ end }}{{ end }}
  {{- if not $blocks }}
    {{- fail (printf "networkPolicy.ingressFrom admits only pods, but a Service of type %s has callers from outside: add {ipBlock: {cidr: …}} with their networks, or with those of the nodes." $service.type) }}
  {{- end }}
{{- end }}
{{- end }}
