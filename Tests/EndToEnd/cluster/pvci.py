"""A client of PVCi, written from what PVCi's README says of its API and nothing else."""

import json
import urllib.error
import urllib.request


class PVCi:
    """`url`: of the service; `token`: PVCi itself knows none."""

    def __init__(self, url, place, token=None):
        self.url = url
        self.place = place
        self.token = token

    def post(self, path, **body):
        """The answer of a POST; an error is a PVCiError with PVCi's words."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            self.url + path, method="POST", data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise PVCiError(error.code, json.load(error)["error"]) from None

    def service(self):
        with urllib.request.urlopen(self.url + "/", timeout=30) as answer:
            return json.load(answer)

    def size(self):
        return self.post("/size", **self.place)

    def create(self, namespace, name, storage_class):
        return self.post("/create", **self.place, namespace=namespace, name=name, storage_class=storage_class)

    def create_async(self, namespace, name, storage_class):
        return self.post("/create-async", **self.place, namespace=namespace, name=name, storage_class=storage_class)

    def named(self, path, namespace, name):
        return self.post(path, namespace=namespace, name=name)


class PVCiError(Exception):
    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
