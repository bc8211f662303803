"""Streams: a small site where each machine hosts one creator, and every viewer is brought to that machine.

It is written for Fly and runs there as it is (`fly.toml`, `Dockerfile`): all that it needs of its surroundings
are headers, sockets, `.internal` names and these variables. Unset and empty mean the same.

| variable | what it does | default |
|---|---|---|
| `HOST`, `PORT` | where it listens | every address, IPv4 and IPv6; 8080 |
| `FLY_REGION`, `FLY_MACHINE_ID`, `FLY_VM_MEMORY_MB` | set by Fly; shown on the page | `blank` |
| `FLY_APP_NAME` | set by Fly; names the app's other machines in DNS | none: works alone |
| `DNS_SERVER` | IP address, or `address:port`, of the name server for `.internal` names | the system's |
| `DISCOVER_EVERY_SECONDS` | how often every other machine is asked who it is | 10 |
| `STREAM_DESIGN` | `sticky`: viewers go to the creator's machine; `copy`: frames are copied to viewers | `sticky` |
| `STICKY_GUARD` | `1`: survive machines that are gone, and never replay twice | off |
| `COOKIE_MAX_AGE_SECONDS` | life of the cookie | 518400, six days |
| `STALE_DIRECTORY` | a fault, see `creator_link`: `self` or `bounce` | none |

Two of these exist to see things fail. `COOKIE_MAX_AGE_SECONDS=518400000` is what the write-up that this app
follows had: six days in milliseconds, in an attribute that counts seconds, so 16 years. `STALE_DIRECTORY` makes
`/creator/<anyone>` a loop.
"""
