//! How often the situations that matter occurred: a run that never met one proves nothing about it.

use std::fmt;

macro_rules! coverage {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counts of situations.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Coverage {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Coverage {
            /// Adds another run's counts.
            pub const fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// Names and counts.
            pub fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

coverage! {
    /// Actions carried out.
    steps,
    /// Transactions that the server committed for clients.
    commits,
    /// Transactions that the server rejected.
    rejections,
    /// Rejections that were answered again after a resend.
    rejections_resent,
    /// Transactions sent again and committed before.
    commits_resent,
    /// Optimistic writes taken back on a client.
    rollbacks,
    /// Times when the server took back commits that could not be made durable.
    server_rollbacks,
    /// Races of two clients for one new attribute.
    attribute_races,
    /// Conflicts told to a program.
    conflicts,
    /// Crashes of clients.
    client_crashes,
    /// Restarts that found unsettled transactions.
    restored_queues,
    /// Crashes of the server.
    server_crashes,
    /// Batches of the server that a crash lost, unanswered.
    batches_lost,
    /// Batches of the server that survived a crash, unanswered.
    batches_survived,
    /// Appends after which nobody knows whether the batch is in the log.
    in_doubt,
    /// Appends that failed on a full disk.
    server_disk_full,
    /// Commits that failed on a client's full disk.
    client_disk_full,
    /// Snapshots of the server.
    snapshots,
    /// Connections cut.
    cuts,
    /// Connections whose end one side noticed much later than the other.
    half_open,
    /// Frames lost with a connection.
    frames_lost,
    /// Sessions opened after a client's first.
    reconnects,
    /// Native sessions taken up where they ended.
    resumes,
    /// Sessions whose refreshes were withheld from a slow reader.
    conflations,
    /// Jumps of a clock.
    clock_jumps,
    /// Changes of the schema.
    schema_changes,
    /// Results that clients showed.
    results,
    /// Results compared with the server's at a position.
    results_matched,
    /// Full pages that lost a row and were filled again.
    refills,
    /// Comparisons of everything at quiet.
    quiets,
    /// Messages of topics received.
    broadcasts,
    /// Rooms compared at quiet.
    rooms_compared,
}

impl Coverage {
    /// The situations that a smoke run must have met and did not.
    pub fn missing(&self, with_native: bool) -> Vec<&'static str> {
        let optional = ["resumes"];
        self.counts()
            .into_iter()
            .filter(|(name, count)| *count == 0 && (with_native || !optional.contains(name)))
            .map(|(name, _)| name)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, count)) in self.counts().into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {count}", name.replace('_', " "))?;
        }
        Ok(())
    }
}
