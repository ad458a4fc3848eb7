//! Requests that are traced: the span of the request itself. What it causes on this node and others hangs under it.

use std::time::SystemTime;

use axum::http::StatusCode;
use axum::http::request::Parts;
use hezong_shell::Handle;
use hezong_shell::trace::{Attribute, Span, TraceContext};

/// One request.
pub(crate) struct Traced {
    pub(crate) context: TraceContext,
    parent: Option<[u8; 8]>,
    began: SystemTime,
    method: String,
}

impl Traced {
    /// Whether it is traced: because whoever sent it says so, or by lot.
    pub(crate) fn begin(node: &Handle, head: &Parts) -> Option<Self> {
        let tracer = node.tracer()?;
        let traceparent = head.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let (context, parent) = tracer.begin(traceparent)?;
        Some(Self { context, parent, began: SystemTime::now(), method: head.method.to_string() })
    }

    /// It was answered.
    pub(crate) fn end(self, node: &Handle, operation: &'static str, status: StatusCode) {
        let Some(tracer) = node.tracer() else { return };
        tracer.tell(Span {
            context: self.context,
            parent: self.parent,
            name: operation,
            serves: true,
            start: self.began,
            end: SystemTime::now(),
            attributes: vec![
                ("http.request.method", Attribute::Text(self.method)),
                ("http.response.status_code", Attribute::Number(status.as_u16().into())),
            ],
            failed: status.is_server_error(),
        });
    }
}
