"""The legend of the kinds of change, in the panel of the maps."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from .kinds import UNKNOWN, colour_of, kinds_seen
from .store import Store

TOOLTIP = (
    "What kind of change it is where change is significant, as the layer 'kinds' shows it; select "
    "that layer and point at a place to read how sure it is, and by how much"
)


class KindsLegend(QLabel):
    """Colours and names of the kinds that the result on the screen shows; no room while it shows none."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setWordWrap(True)
        self.setToolTip(TOOLTIP)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        store.on("result running", self._show)
        self._show()

    def _show(self) -> None:
        state = self._store.state
        kinds = [] if state.result is None or state.running else kinds_seen(state.result)
        told = set(kinds) - {UNKNOWN}
        # names may come from a file
        entries = [f'<span style="color: {colour_of(kind)}">■</span>&nbsp;{escape(kind)}' for kind in kinds]
        self.setText("&nbsp; ".join(entries) if told else "")
        self.setVisible(bool(told))
