//! A proxy over standard input and output whose client and server are both the test.

use mcpulse_tests::{Proxy, program};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{ChildStdin, ChildStdout},
    time::timeout,
};

use super::{Ends, PATIENCE, assert_settled, call, result};

/// The proxy and both ends of its session.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) ends: Ends,
    pub(crate) proxy: Proxy,
    client_says: ChildStdin,
    client_hears: ChildStdout,
    server_says: OwnedWriteHalf,
    server_hears: OwnedReadHalf,
}

impl Pipe {
    /// A session in which nothing was said yet.
    pub(crate) async fn open() -> Self {
        Self::with(Ends::start().await, &[]).await
    }

    /// A session whose proxy has these flags as well.
    pub(crate) async fn with(ends: Ends, flags: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("the address of a bound socket").to_string();
        let mut args = vec!["stdio".to_owned()];
        args.extend(ends.flags());
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        args.push("--".to_owned());
        args.extend([program("puppet").display().to_string(), address]);
        let mut proxy = Proxy::start(args);
        let (client_says, client_hears) = (proxy.stdin(), proxy.stdout());
        let dialled = timeout(PATIENCE, listener.accept()).await.expect("the server starts");
        let (socket, _) = dialled.expect("a connection");
        socket.set_nodelay(true).expect("a TCP socket");
        let (server_hears, server_says) = socket.into_split();
        Self { ends, proxy, client_says, client_hears, server_says, server_hears }
    }

    /// The client says this, and the server hears exactly this.
    pub(crate) async fn client(&mut self, words: impl AsRef<[u8]>) {
        pass(words.as_ref(), &mut self.client_says, &mut self.server_hears).await;
    }

    /// The server says this, and the client hears exactly this.
    pub(crate) async fn server(&mut self, words: impl AsRef<[u8]>) {
        pass(words.as_ref(), &mut self.server_says, &mut self.client_hears).await;
    }

    /// The same line, each way.
    pub(crate) async fn both(&mut self, line: &[u8]) {
        let line = [line, b"\n"].concat();
        self.client(&line).await;
        self.server(&line).await;
    }

    /// One call as it should be.
    pub(crate) async fn call(&mut self, id: &str) {
        self.client(call(id) + "\n").await;
        self.server(result(id) + "\n").await;
    }

    /// See [`super::assert_settled`].
    pub(crate) async fn assert_settled(&self, calls: &[(&str, u64)], oddities: &[(&str, u64)]) {
        assert_settled(&self.proxy, calls, oddities).await;
    }

    /// Ends the session; checks that every sink got so many calls in all.
    pub(crate) async fn close(self, calls: u64) {
        self.leave().await.assert_delivered(calls).await;
    }

    /// The client leaves, then the server; checks that nothing more was said.
    pub(crate) async fn leave(self) -> Ends {
        let Self { ends, mut proxy, client_says, mut client_hears, server_says, mut server_hears } =
            self;
        let mut rest = Vec::new();
        drop(client_says);
        server_hears.read_to_end(&mut rest).await.expect("the rest of what the client said");
        drop((server_says, server_hears));
        client_hears.read_to_end(&mut rest).await.expect("the rest of what the server said");
        assert_eq!(String::from_utf8_lossy(&rest), "");
        assert!(proxy.wait(PATIENCE).await.success());
        ends
    }
}

/// Says `words` on one side and hears exactly them on the other, at the same time.
async fn pass(
    words: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    from: &mut (impl AsyncRead + Unpin),
) {
    let say = async {
        to.write_all(words).await.expect("the proxy reads");
        to.flush().await.expect("the proxy reads");
    };
    let hear = async {
        let mut rest = words;
        let mut chunk = vec![0; 64 << 10];
        while !rest.is_empty() {
            let most = chunk.len().min(rest.len());
            let count = from.read(&mut chunk[..most]).await.expect("the proxy writes");
            assert!(count > 0, "{} bytes did not arrive", rest.len());
            let (now, later) = rest.split_at(count);
            assert!(now == &chunk[..count], "changed: {:?}", String::from_utf8_lossy(now));
            rest = later;
        }
    };
    let both = async { tokio::join!(say, hear) };
    timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("{} bytes do not pass", words.len()));
}
