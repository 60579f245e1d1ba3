"""The portal: what an ISP says of its network, as p-distances between PIDs served over ALTO."""
