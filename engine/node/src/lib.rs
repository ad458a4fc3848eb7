//! Many groups behind one inbox: routing, batching, applying, waiting clients, limits. Sans-IO.
