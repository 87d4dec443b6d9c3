"""The Kubernetes client: access, requests, informers, the work queue and the event recorder."""
