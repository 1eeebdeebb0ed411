"""The price card that costs imply, each line traced to what takes the money; and the ratios that cards are read by."""
