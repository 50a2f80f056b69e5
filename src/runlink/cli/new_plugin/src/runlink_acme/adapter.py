"""Which requests are made of Acme, and what goes into a page. The host comes here."""

from collections.abc import Iterator, Sequence
from typing import Any

from runlink import spi
from runlink_acme.translate import observe


class AcmeAdapter(spi.Polls, spi.Refetches):
    name = "acme"
    config_schema = spi.load_schema("runlink_acme")

    def __init__(self, context: spi.Context) -> None:
        super().__init__(context)
        self._client = context.http(headers={"Authorization": f"Bearer {context.config['token']}"})

    def check(self) -> spi.EngineInfo:
        return spi.EngineInfo(product="Acme", version=self._get("/api/version", "version")["version"])

    def poll(self, cursors: spi.Cursors) -> Iterator[spi.Page]:
        place, more = cursors.get("runs", "start"), True
        while more:
            query = {"after": place, "since": self.context.since.isoformat()}
            told = self._get("/api/runs", "runs", "next", "more", params=query)
            place, more = told["next"], told["more"]
            if told["runs"]:
                yield spi.page_of(told["runs"], observe, cursors={"runs": place})

    def refetch(self, external_ids: Sequence[str]) -> Iterator[spi.Page]:
        rows, gone = [], []
        for external_id in external_ids:
            try:
                rows.append(self._get(f"/api/runs/{external_id}", "id"))
            except spi.NotFound:
                gone.append(external_id)
        yield spi.page_of(rows, observe, gone=gone)

    def _get(self, path: str, *keys: str, **options: Any) -> Any:
        answer = self._client.get(path, **options)
        if answer.status_code == 410:
            raise spi.CursorExpired(f"{path}: Acme no longer knows the place that was stored")
        return spi.json_of(answer, self.context.now(), *keys)
