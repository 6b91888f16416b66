//! Queues of messages between the client and the loop: each holds many small ones and one large.

use tokio::sync::mpsc::{Sender, error::SendError};

use super::problem::Told;

/// Most bytes of a message of which a queue holds as many as it has places.
const SMALL: usize = 16 << 10;

/// Puts a message of so many bytes into the queue as soon as it has room. For a large one it has
/// when all before it have been taken, so that it never holds two.
///
/// # Errors
/// When nobody takes any more.
pub(super) async fn pass<T>(
    queue: &Sender<T>,
    bytes: usize,
    message: T,
) -> Result<(), SendError<()>> {
    let places = if bytes <= SMALL { 1 } else { queue.max_capacity() };
    // It takes one of them; the others are free again.
    queue.reserve_many(places).await?.next().map(|place| place.send(message)).ok_or(SendError(()))
}

/// Tells the client something.
pub(super) async fn tell(client: &Sender<Told>, told: impl Into<Told>) {
    let told = told.into();
    // A client that takes no more ends the session elsewhere.
    let _ = pass(client, told.text.len(), told).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_queue_holds_many_small_messages_and_one_large() {
        let (queue, mut taken) = mpsc::channel(4);
        for small in 0..2 {
            assert_eq!(pass(&queue, SMALL, small).now_or_never(), Some(Ok(())));
        }
        let mut large = Box::pin(pass(&queue, SMALL + 1, 2));
        assert_eq!((&mut large).now_or_never(), None);
        assert_eq!(pass(&queue, 1, 3).now_or_never(), None, "behind it");
        assert_eq!((taken.recv().await, taken.recv().await), (Some(0), Some(1)));
        assert_eq!(large.await, Ok(()));
        for small in 4..7 {
            assert_eq!(pass(&queue, 1, small).now_or_never(), Some(Ok(())));
        }
        assert_eq!(pass(&queue, SMALL + 1, 7).now_or_never(), None, "beside the other");
        assert_eq!(taken.recv().await, Some(2));
        drop(taken);
        assert_eq!(pass(&queue, 1, 8).await, Err(SendError(())));
    }
}
