"""What operators see of the process: log lines and metrics.

- `logs`: configure_logging, get_logger, open_log; `log_writer`: the thread that writes the lines
- `render`: one record as one line: text, JSON, or the coloured form of a terminal
- `go`: values and text in the forms that Go's fmt, strconv and time give them
- `metrics`: everything that is counted, in the domain's words; `series`: its topics, a module each
- `collectors`: what is computed at the moment of a scrape
"""
