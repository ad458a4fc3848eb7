//! One log on disk per node, shared by all groups.
