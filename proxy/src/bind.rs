//! Binds the listeners.

use std::io;

use tokio::net::TcpListener;

/// Binds `HOST:PORT`, or `:PORT` on every interface: of both IP versions where there is IPv6,
/// of IPv4 alone where there is none.
///
/// # Errors
/// When the address is taken, not ours or none; the text says what to do.
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    bound(address).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "is another process using it?",
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
            io::ErrorKind::PermissionDenied => "ports below 1024 take privileges",
            _ => "check the address",
        };
        io::Error::new(error.kind(), format!("{error}; {remedy}"))
    })
}

async fn bound(address: &str) -> io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else {
        return TcpListener::bind(address).await;
    };
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}
