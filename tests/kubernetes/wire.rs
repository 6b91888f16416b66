//! A wire that can be cut: passes connections on to a port of this machine, or to nobody.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// A port that leads to another.
pub(crate) struct Wire {
    port: u16,
    end: watch::Sender<Option<u16>>,
    passing: JoinHandle<()>,
}

impl Wire {
    /// One that leads nowhere yet.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (end, mut leads) = watch::channel(None);
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = leads.changed() => {
                        // Those that are there go with what they led to.
                        connections.abort_all();
                        continue;
                    }
                };
                let (Ok((mut socket, _)), Some(port)) = (accepted, *leads.borrow()) else {
                    continue;
                };
                connections.spawn(async move {
                    let Ok(mut end) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    // Either end closes it as it likes.
                    let _ = copy_bidirectional(&mut socket, &mut end).await;
                });
            }
        });
        Self { port, end, passing }
    }

    /// Where it begins.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Cuts it; where it led to.
    pub(crate) fn cut(&self) -> Option<u16> {
        self.end.send_replace(None)
    }

    /// Leads it to another port, or cuts it.
    pub(crate) fn lead_to(&self, port: Option<u16>) {
        self.end.send_replace(port);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.passing.abort();
    }
}
