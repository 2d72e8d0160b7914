"""Everything Qt and napari: panels around one store, and the plugin's readers, writer and samples."""
