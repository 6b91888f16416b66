//! `puppet ADDRESS` is a stdio server whose words a test speaks: it connects to ADDRESS and
//! copies its standard streams to and from there. It ends when the test closes its side.

use std::{
    env,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};

/// Copies bytes as they come.
fn pump(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&chunk[..count])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).ok_or_else(|| io::Error::other("usage: puppet ADDRESS"))?;
    let test = TcpStream::connect(address)?;
    test.set_nodelay(true)?;
    let heard = test.try_clone()?;
    // Blocked on its input until the client closes it: not joined, for the test may end first.
    thread::spawn(move || {
        let ended = pump(io::stdin(), &heard);
        // The test sees the end of the input.
        ended.and_then(|()| heard.shutdown(Shutdown::Write))
    });
    pump(test, io::stdout())
}
