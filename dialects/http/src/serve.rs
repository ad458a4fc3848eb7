//! Sockets: connections accepted until told to stop, and those open then seen through.

use std::io;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

/// Serves until `stop` is ready, then lets requests under way finish. Clients that keep their connection open without a
/// request are let go at once.
///
/// # Errors
/// What the listener said.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Replies are small and written whole: waiting for more to send would only add to their latency.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection cannot be set to send at once");
        }
    });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
