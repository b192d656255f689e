"""Log lines and metrics of the process.

logs               configure_logging, get_logger, open_log
log_writer         the thread that writes the lines
log_format         one record as one line: text, JSON, or the coloured form of a terminal
throttle           warnings at most once a minute
metrics            Metrics: every series, and the scrape
authority_metrics  its series of runs, restarts and the trust bundle
call_metrics       its series of connections, calls and signing
renewal_metrics    its series of CA renewal
pauses             its series of the event loop and the garbage collector
registry           metric families, and the labels of gRPC statuses
"""
