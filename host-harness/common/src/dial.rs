//! TCP connections to names with several addresses.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connects to the first of these addresses that answers.
///
/// The caller stops it after `caller_timeout`. Each address but the last gets an equal share of that,
/// so that one that does not answer at all leaves time for the others. The error is that of the last
/// address.
pub async fn connect_any(
    addresses: &[SocketAddr],
    caller_timeout: Duration,
) -> io::Result<TcpStream> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(ErrorKind::NotFound.into());
    };
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let share = caller_timeout.checked_div(count).unwrap_or(caller_timeout);
    for address in others {
        if let Ok(Ok(stream)) = timeout(share, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    TcpStream::connect(last).await
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next_one() {
        // A listener that accepts nothing, with a full queue, drops what comes.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let silent = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let second = Duration::from_secs(1);
        while let Ok(connected) = timeout(second, TcpStream::connect(silent)).await {
            queued.push(connected.unwrap());
            assert!(queued.len() < 100, "the queue does not get full");
        }

        let answering = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answering = answering.local_addr().unwrap();
        let addresses = [silent, answering];
        let connecting = connect_any(&addresses, Duration::from_millis(100));
        // The system gives up after two minutes.
        let connected = timeout(60 * second, connecting).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), answering);
    }

    #[tokio::test]
    async fn the_error_is_that_of_the_last_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        let error = connect_any(&[closed, closed], Duration::from_secs(60)).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let error = connect_any(&[], Duration::from_secs(60)).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
