"""What Prometheus reads."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

STATUSES = (200, 400, 401, 403, 404, 413, 415, 429, 500, 502, 503, 504)


class Metrics:
    """Counters of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter("honeyguard_requests", "Inference requests by status.", ["status"], registry=self.registry)
        self.requests = {status: requests.labels(str(status)) for status in STATUSES}
        self.images = Counter("honeyguard_images", "Images answered.", registry=self.registry)
        self.seconds = Histogram(
            "honeyguard_seconds",
            "Seconds from a request's headers to its answer.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )
        self.under_way = Gauge("honeyguard_under_way", "Requests being answered.", registry=self.registry)
        self.backlog = Gauge("honeyguard_backlog", "Requests answered and not yet in the ledger.", registry=self.registry)
        self.alarms = Counter("honeyguard_alarms", "Alarms by detector.", ["detector"], registry=self.registry)
        self.unwatched = Counter("honeyguard_unwatched_images", "Images that no detector saw, for lack of time.", registry=self.registry)
        self.marked = Counter("honeyguard_marked_images", "Images answered with a mark.", registry=self.registry)

    def page(self) -> bytes:
        return generate_latest(self.registry)
