//! What the proxy itself says to a program, beside what clients say: answers to what no client
//! takes, and withdrawals. Nobody can wait there until the program reads.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, mpsc::error::TrySendError},
};

/// Most bytes that wait until the program reads; beyond it nothing more is said.
const LIMIT: u32 = 1 << 20;
/// What one that waits takes beside its text.
const ENTRY: usize = 512;

/// What waits to be said to one program.
#[derive(Debug)]
pub(super) struct Asides {
    /// Bytes that may wait besides.
    room: Arc<Semaphore>,
    complained: AtomicBool,
}

impl Default for Asides {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(LIMIT as usize));
        Self { room, complained: AtomicBool::new(false) }
    }
}

impl Asides {
    /// Says this to the program of `session` without waiting until it reads. A program that does
    /// not is not told: what it asked meanwhile stays without an answer.
    pub(super) fn say(&self, input: &mpsc::Sender<Bytes>, message: &[u8], session: &str) {
        let line = Bytes::from([message, b"\n"].concat());
        let Err(TrySendError::Full(line)) = input.try_send(line) else { return };
        let size = u32::try_from(line.len() + ENTRY).unwrap_or(u32::MAX);
        let Ok(held) = Arc::clone(&self.room).try_acquire_many_owned(size) else {
            if !self.complained.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    session,
                    "the server asks and does not read: some of its requests stay unanswered"
                );
            }
            return;
        };
        let Ok(runtime) = Handle::try_current() else { return };
        let input = input.clone();
        runtime.spawn(async move {
            // Nobody reads it any more once the program has ended.
            let _ = input.send(line).await;
            drop(held);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_much_waits_for_a_program_that_does_not_read_and_no_more() {
        let (input, mut lines) = mpsc::channel(1);
        let asides = Asides::default();
        let message = vec![b'x'; 10_000];
        for _ in 0..1000 {
            asides.say(&input, &message, "tag");
        }
        let most = 1 + LIMIT as usize / message.len();
        let mut told = 0;
        // What waits comes as soon as there is room.
        while let Ok(Some(line)) =
            tokio::time::timeout(std::time::Duration::from_millis(200), lines.recv()).await
        {
            assert_eq!(line.len(), message.len() + 1);
            told += 1;
        }
        assert!((most * 9 / 10..=most).contains(&told), "{told} of {most}");
        // Having read it is told again.
        asides.say(&input, b"a", "tag");
        assert_eq!(lines.recv().await.as_deref(), Some(&b"a\n"[..]));
        asides.say(&input, b"fills the channel", "tag");
        asides.say(&input, b"b", "tag");
        lines.recv().await;
        assert_eq!(lines.recv().await.as_deref(), Some(&b"b\n"[..]));
    }
}
