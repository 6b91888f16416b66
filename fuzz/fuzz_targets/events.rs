//! Any stream of events in any chunking: the events that a simple reading of the whole finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpulse_proxy::sse::{Event, Events, Piece};

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, stream) = input;
    let chunk = usize::from(chunk).max(1);
    assert_eq!(split(stream, chunk), read(stream));
    let mut events = Events::default();
    events.skip();
    stream.chunks(chunk).for_each(|chunk| events.split(chunk, |_| {}));
});

/// The data of an event, if it has any, what it is by its name, and whether it has an id.
type Found = (Vec<u8>, Option<Event>, bool);

fn split(stream: &[u8], chunk: usize) -> Vec<Found> {
    let mut events = Events::default();
    let mut found = Vec::new();
    let mut current: Found = (Vec::new(), None, false);
    for chunk in stream.chunks(chunk) {
        events.split(chunk, |piece| match piece {
            Piece::Data(event, part) => {
                current.0.extend_from_slice(part);
                current.1.get_or_insert(event);
            }
            Piece::Id => current.2 = true,
            Piece::IdPart(_) | Piece::RetryPart(_) => {}
            Piece::End => found.push(std::mem::take(&mut current)),
        });
    }
    found
}

/// The same, with the whole stream at hand.
fn read(stream: &[u8]) -> Vec<Found> {
    let mark = stream.iter().zip([0xEF, 0xBB, 0xBF]).take_while(|(one, other)| **one == *other);
    let stream = &stream[mark.count()..];
    let mut text = Vec::new();
    for (at, byte) in stream.iter().enumerate() {
        match byte {
            b'\n' if at > 0 && stream[at - 1] == b'\r' => {}
            b'\r' => text.push(b'\n'),
            other => text.push(*other),
        }
    }
    let mut found = Vec::new();
    let mut current: Found = (Vec::new(), None, false);
    let (mut name, mut data) = (Vec::new(), 0);
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    lines.pop();
    for line in lines {
        if line.is_empty() {
            found.push(std::mem::take(&mut current));
            (name, data) = (Vec::new(), 0);
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                data += 1;
                if data > 1 {
                    current.0.push(b'\n');
                }
                current.0.extend_from_slice(value);
                if data > 1 || !value.is_empty() {
                    current.1.get_or_insert(match &name[..] {
                        b"" | b"message" => Event::Message,
                        b"endpoint" => Event::Endpoint,
                        _ => Event::Other,
                    });
                }
            }
            b"event" => name = value.to_vec(),
            b"id" => current.2 = true,
            _ => {}
        }
    }
    found
}
