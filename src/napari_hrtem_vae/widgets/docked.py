"""A widget beside the viewer: a column of panels that scrolls, docks of its own, and a clean end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QApplication, QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

WIDTH = 330


class Release:
    """Lets go of viewer and threads; does so once, and needs no living widget.

    Parameters
    ----------
    parts : list
        Each has a method `shut_down`.
    """

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def __call__(self, *_: Any) -> None:
        while self._parts:
            self._parts.pop().shut_down()


class DockedWidget(QWidget):
    """Panels in a scroll area, narrow enough for a laptop.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
        Docks are added where it has a window.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._closed = False
        self._docks: list[QWidget] = []
        self._release = Release([])
        self.setMinimumWidth(300)
        self.setMinimumHeight(200)

    def _begin(self, panels: Sequence[QWidget], pinned: QWidget, release: Release) -> None:
        """Stack the panels, one of them always in view below, and remember what to let go at the end."""
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(6, 6, 10, 6)
        column.setSpacing(2)
        for index, panel in enumerate(panels):
            if index:
                column.addWidget(_line())
            column.addWidget(panel)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        below = QVBoxLayout()
        below.setContentsMargins(6, 0, 10, 6)
        below.setSpacing(2)
        below.addWidget(_line())
        below.addWidget(pinned)
        layout.addLayout(below)
        self._release = release
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.shut_down)
        # a window that closes destroys its widgets without a word to them; a slot of this object would not
        # be called any more
        self.destroyed.connect(release)

    def sizeHint(self) -> QSize:
        """As narrow as beside a viewer on a laptop."""
        return QSize(WIDTH, 640)

    # Closing

    def hideEvent(self, event: Any) -> None:
        """A dock closed with × only hides its widget and then lets go of it: that is the end."""
        super().hideEvent(event)
        QTimer.singleShot(0, self._end_when_let_go)

    def _end_when_let_go(self) -> None:
        if self.parent() is None and not self.isVisible():
            self.shut_down()

    def closeEvent(self, event: Any) -> None:
        """The end, when not inside a dock."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop the work and let go of the viewer; layers stay."""
        if self._closed:
            return
        self._closed = True
        application = QApplication.instance()
        if application is not None:
            with suppress(TypeError, RuntimeError):
                application.aboutToQuit.disconnect(self.shut_down)
        self._release()
        window = getattr(self._viewer, "window", None)
        for widget in self._docks:
            # the window may be closing, or the user may have closed this dock before
            with suppress(LookupError, RuntimeError, AttributeError):
                if window is not None and widget.parent() is not None:
                    window.remove_dock_widget(widget)

    # Docks

    def show_dock(self, widget: QWidget, name: str) -> None:
        """Show `widget` below the viewer, again where it was closed; nothing without a window."""
        window = getattr(self._viewer, "window", None)
        if window is None:
            return
        outer = self.window()
        if isinstance(outer, QMainWindow):
            # the controls keep the full height beside it
            outer.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        if widget not in self._docks:
            self._docks.append(widget)
        if widget.parent() is None:
            window.add_dock_widget(widget, name=name, area="bottom", add_vertical_stretch=False)
        dock = widget.parent()
        dock.show()
        dock.raise_()


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Plain)
    line.setStyleSheet("QFrame { color: rgba(128, 128, 128, 90); }")
    line.setMaximumHeight(1)
    return line
