//! Requests that are traced: the span of the request itself. What it causes on this node and others hangs under it.

use std::time::SystemTime;

use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use hezong_shell::Handle;
use hezong_shell::trace::{Attribute, Span, TraceContext};

/// One request. Its span is told when it is dropped: answered, or given up by whoever asked.
pub(crate) struct Traced<'a> {
    node: &'a Handle,
    pub(crate) context: TraceContext,
    parent: Option<[u8; 8]>,
    began: SystemTime,
    operation: &'static str,
    method: Method,
    status: Option<StatusCode>,
}

impl<'a> Traced<'a> {
    /// Whether it is traced: because whoever sent it says so, or by lot.
    pub(crate) fn begin(node: &'a Handle, operation: &'static str, head: &Parts) -> Option<Self> {
        let traceparent = head.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let (context, parent) = node.tracer()?.begin(traceparent)?;
        let (began, method) = (SystemTime::now(), head.method.clone());
        Some(Self { node, context, parent, began, operation, method, status: None })
    }

    /// It is answered.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Traced<'_> {
    fn drop(&mut self) {
        let Some(tracer) = self.node.tracer() else { return };
        let mut attributes = vec![("http.request.method", Attribute::Text(self.method.to_string()))];
        let status = self.status.map(|status| ("http.response.status_code", Attribute::Number(status.as_u16().into())));
        attributes.extend(status);
        tracer.tell(Span {
            context: self.context,
            parent: self.parent,
            name: self.operation,
            serves: true,
            start: self.began,
            end: SystemTime::now(),
            attributes,
            failed: self.status.is_none_or(|status| status.is_server_error()),
        });
    }
}
