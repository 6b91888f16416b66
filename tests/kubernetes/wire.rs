//! A wire that can be cut: passes connections on to ports of this machine, or to nobody.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// A port that leads to others, as a Service does.
pub(crate) struct Wire {
    port: u16,
    leads: watch::Sender<Leads>,
    passing: JoinHandle<()>,
}

/// Where it leads to.
#[derive(Clone, Default)]
struct Leads {
    ends: Vec<u16>,
    is_cut: bool,
}

impl Wire {
    /// One that leads nowhere yet.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (sender, mut leads) = watch::channel(Leads::default());
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = leads.changed() => {
                        if leads.borrow_and_update().is_cut {
                            connections.abort_all();
                        }
                        continue;
                    }
                };
                let Leads { ends, is_cut } = leads.borrow().clone();
                let (Ok((mut socket, _)), false) = (accepted, is_cut) else { continue };
                connections.spawn(async move {
                    let Some(mut end) = first(&ends).await else { return };
                    // Either end closes it as it likes.
                    let _ = copy_bidirectional(&mut socket, &mut end).await;
                });
            }
        });
        Self { port, leads: sender, passing }
    }

    /// Where it begins.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Cuts it, also for those that are connected.
    pub(crate) fn cut(&self) {
        self.leads.send_modify(|leads| leads.is_cut = true);
    }

    /// Mends it.
    pub(crate) fn mend(&self) {
        self.leads.send_modify(|leads| leads.is_cut = false);
    }

    /// Leads it to another port as well.
    pub(crate) fn lead_to(&self, port: u16) {
        self.leads.send_modify(|leads| leads.ends.push(port));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

/// A connection to the newest of those that are there.
async fn first(ends: &[u16]) -> Option<TcpStream> {
    for port in ends.iter().rev() {
        if let Ok(end) = TcpStream::connect(("127.0.0.1", *port)).await {
            return Some(end);
        }
    }
    None
}
