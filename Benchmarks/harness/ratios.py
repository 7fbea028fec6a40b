"""Targets' values out of medians (contender → metric → median)."""

FUSE_PEERS = ("rclone", "s3fs")


def best_peer(medians: dict, metric: str, lower_is_better: bool = False, peers=FUSE_PEERS) -> float:
    values = [medians[p][metric] for p in peers if metric in medians.get(p, {})]
    if not values:
        raise KeyError(metric)
    return min(values) if lower_is_better else max(values)


def over_best_peer(metric: str, lower_is_better: bool = False):
    """How many times better than the better of rclone and s3fs."""

    def value(medians: dict) -> float:
        own, peer = medians["millrace"][metric], best_peer(medians, metric, lower_is_better)
        return peer / own if lower_is_better else own / peer

    return value


def over(other: str, metric: str, lower_is_better: bool = False):
    def value(medians: dict) -> float:
        own, peer = medians["millrace"][metric], medians[other][metric]
        return peer / own if lower_is_better else own / peer

    return value


def own(metric: str):
    return lambda medians: medians["millrace"][metric]
