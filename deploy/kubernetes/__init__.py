"""The Kubernetes resources, and the program that makes one of them."""
