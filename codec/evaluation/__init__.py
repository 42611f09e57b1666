"""Measuring lapic beside the codecs people use: real files, standard metrics, curves, plots and a report.

codec    what a codec is here
codecs   what is measured: encode and decode of lapic's peers
own      and of lapic, with settings and models of its own
metric   what a metric is here: its names, its direction
metrics  how far a decoded picture is from its original
butteraugli one of the metrics, by libjxl's program
measure  one point: one picture, one codec, one quality
peak     the memory that a process takes at its peak
cache    measured points on disk
matching peers at the same file size
evaluate all of it together
curves   means over pictures, BD-rate, published curves
results  the record: results.json and results.csv
plots    rate-distortion and cost as SVG and PNG
report   one self-contained HTML page
distance FID and KID between two folders
commands `lapic evaluate`, `lapic plot`, `lapic compare`

Needs the extra `evaluation`: pip install 'lapic[evaluation]'.
"""
